module agentscaler.dev/harness/tools/pause

go 1.26.0
