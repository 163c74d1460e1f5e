"""The touch: an annotation on each pod, upon which its kubelet refreshes the mounted settings within a second.

A touch that was lost is repeated while pods owe a report, a few times: the kubelet refreshes by itself in the end.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agentscaler.kube.api import MERGE, KubeApi
from agentscaler.kube.case import Case, Delivered
from agentscaler.kube.errors import Conflict, NotFound
from agentscaler.kube.live import PodFacts
from agentscaler.kube.memo import Memo
from agentscaler.kube.paths import PODS
from agentscaler.kube.sight import pods_of
from agentscaler.kube.workload import MANAGER, TOUCHED

TOUCH_AGAIN_SECONDS: Final = 3.0
MOST_TOUCHES: Final = 5
"""After these (about 90 s) the kubelet has refreshed the volume by itself, and an agent that is silent stays so."""


class Touch:
    """Touches the pods of one object."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def again(self, case: Case, delivered: Delivered, memo: Memo) -> bool:
        """Have the kubelets refresh the volume of pods that owe a report; whether anything was written.

        Raises:
            KubeError: The pods cannot be read or written.
        """
        deployment = case.live.deployment
        if not delivered.waiting or delivered.restart_generation is not None or deployment is None:
            return False
        if not case.live.settings_mounted:
            return False
        patience = TOUCH_AGAIN_SECONDS * 2 ** max(memo.touches - 1, 0)
        if delivered.generation in {delivered.applied, memo.delivered} or memo.touches >= MOST_TOUCHES:
            return False
        if memo.touches and (case.now - memo.touched_at < patience or self._api.is_congested):
            return False
        memo.touched_at, memo.touches = case.now, memo.touches + 1
        pods = case.live.pods if case.live.pods_known else await pods_of(self._api, deployment)
        mark = f"{delivered.generation}-{memo.touches}"
        # A pod that came after the write has mounted the new file.
        old = [pod for pod in pods if not pod.terminating and pod.created_at <= memo.tuning_written_at + 1]
        await asyncio.gather(*(self._one(case, pod, mark) for pod in old))
        return bool(old)

    async def _one(self, case: Case, pod: PodFacts, mark: str) -> None:
        path = PODS.path(case.record.namespace, pod.name)
        body = {"metadata": {"uid": pod.uid, "annotations": {TOUCHED: mark}}}
        try:
            await self._api.patch(path, body, content_type=MERGE, field_manager=MANAGER)
        except (NotFound, Conflict):
            return  # gone, or another pod by now
