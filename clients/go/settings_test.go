package tuning

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var defaults = Settings{Workers{3}, Cache{1000, 60}, CircuitBreaker{40, 30, 60, 10, 2}}

// leafOfSchema is one key of docs/tuning.schema.json, which is normative.
type leafOfSchema struct {
	section, key     string
	minimum, maximum int64
}

func schema(t *testing.T) (leaves []leafOfSchema) {
	t.Helper()
	type node struct {
		Properties       map[string]node
		Minimum, Maximum int64
	}
	content, err := os.ReadFile("../../docs/tuning.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root node
	if err := json.Unmarshal(content, &root); err != nil {
		t.Fatal(err)
	}
	for section, below := range root.Properties {
		if below.Properties == nil {
			leaves = append(leaves, leafOfSchema{"", section, below.Minimum, below.Maximum})
		}
		for key, leaf := range below.Properties {
			leaves = append(leaves, leafOfSchema{section, key, leaf.Minimum, leaf.Maximum})
		}
	}
	return leaves
}

func with(section, key string, value any) string {
	if section == "" {
		return fmt.Sprintf(`{"%s": %v}`, key, value)
	}
	return fmt.Sprintf(`{"generation": 7, "%s": {"%s": %v}}`, section, key, value)
}

func TestEveryKeyOfTheSchemaIsReadWithinItsBoundsAndNoOther(t *testing.T) {
	var tuning Tuning
	known := tuning.leaves()
	leaves := schema(t)
	if len(leaves) < 9 || len(known) != len(leaves) {
		t.Fatalf("the schema has %d keys, the library %d", len(leaves), len(known))
	}
	for _, each := range leaves {
		for _, value := range []int64{each.minimum, each.maximum} {
			tuning, err := Parse([]byte(with(each.section, each.key, value)), defaults)
			if err != nil {
				t.Errorf("%v: %d is refused: %v", each, value, err)
				continue
			}
			if read := *tuning.leaves()[[2]string{each.section, each.key}].value; read != value {
				t.Errorf("%v: %d became %d", each, value, read)
			}
		}
		for _, value := range []any{each.minimum - 1, each.maximum + 1, "1.5", `"12"`, "true", "null", "[1]", "{}", "1e400"} {
			if tuning, err := Parse([]byte(with(each.section, each.key, value)), defaults); err == nil {
				t.Errorf("%v: %v is accepted: %+v", each, value, tuning)
			}
		}
	}
}

func TestAnAbsentKeyMeansTheAgentsOwnDefault(t *testing.T) {
	tuning, err := Parse([]byte(`{"generation": 2, "cache": {"ttlSeconds": 5.0}}`), defaults)
	expected := defaults
	expected.Cache.TTLSeconds = 5
	if err != nil || tuning.Generation != 2 || tuning.Settings != expected {
		t.Fatalf("%+v, %v", tuning, err)
	}
}

func TestUnknownKeysAreToldAndHaveNoEffect(t *testing.T) {
	content := `{"generation": 1, "colour": null, "cache": {"MaxBytes": 1, "weight": []}, "workers.maxConcurrent": 9, "Workers": 1}`
	tuning, err := Parse([]byte(content), defaults)
	slices.Sort(tuning.Unknown)
	expected := []string{"Workers", "cache.MaxBytes", "cache.weight", "colour", "workers.maxConcurrent"}
	if err != nil || !reflect.DeepEqual(tuning.Unknown, expected) || tuning.Settings != defaults {
		t.Fatalf("%+v, %v", tuning, err)
	}
}

func TestWhatIsNotOneObjectOfJSONIsRefused(t *testing.T) {
	for _, content := range []string{
		"", "{", "null", "[]", "7", "{}", `{"generation": 1} {}`, `{"generation": 1,}`, `{"generation": NaN}`,
		`{"generation": 1, "workers": null}`, `{"generation": 1, "cache": [1]}`, "{\"generation\": 1, \"\xff\": 1}",
		"\ufeff{\"generation\": 1}", `{"generation": 1}` + strings.Repeat(" ", maxFileBytes),
	} {
		if tuning, err := Parse([]byte(content), defaults); err == nil {
			t.Errorf("%.40q is accepted: %+v", content, tuning)
		}
	}
}

func TestTheReadmeShowsTheExample(t *testing.T) {
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(example), "func Example() {\n")
	body, _, _ = strings.Cut(body, "\t// Output:")
	body = strings.ReplaceAll("\n"+body, "\n\t", "\n")
	if !strings.Contains(string(readme), "```go"+body+"```") {
		t.Error("the README's example is not that of example_test.go")
	}
}
