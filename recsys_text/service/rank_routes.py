"""POST /rank and /rank/batch: any candidates in a user's order, by the arms of experiments, logged. Knows no arrays."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from recsys_text.sections import Arm, Service
from recsys_text.service import schemas
from recsys_text.service.answers import BODY_PROBLEMS, PROBLEMS, about, json_response, refusal
from recsys_text.service.experiments import assigned
from recsys_text.service.impressions import ImpressionLog
from recsys_text.service.ranker import MissingView
from recsys_text.service.ranker import rank as ranked
from recsys_text.service.views import Pinned, Served, Views

_NO_ARM = Arm(share=1)


def rank_routes(views: Views, settings: Service, log: ImpressionLog | None) -> APIRouter:
    """The routes over what is pinned; rankings go into the log, where there is one."""
    router = APIRouter(responses=PROBLEMS | BODY_PROBLEMS)
    bounded_request, bounded_batch = schemas.bounded_requests(settings)

    async def ranking(pinned: Pinned, request: schemas.RankFields) -> tuple[Served, dict[str, Any]]:
        name, arm = _arm(pinned, request, settings)
        if arm.scores is not None:
            pinned = pinned.with_scores(arm.scores) or pinned
        rows = await views.rows_of(pinned, request.user_id)
        known, items = ranked(pinned, rows, request, request.diversity if arm.diversity is None else arm.diversity)
        return pinned.served, {
            "user_id": request.user_id,
            **about(pinned.served),
            "known": known,
            "experiment": request.experiment,
            "arm": name,
            "impression_id": None,
            "items": items,
        }

    def record(body: dict[str, Any]) -> None:
        if log is not None:
            body["impression_id"] = log.record(
                body["user_id"],
                [item["item_id"] for item in body["items"]],
                version=body["version"],
                experiment=body["experiment"],
                arm=body["arm"],
            )

    async def rank(request: schemas.RankFields) -> Response:
        try:
            served, body = await ranking(views.pinned(), request)
        except MissingView as error:
            return refusal(str(error))
        record(body)
        return json_response(body, served=served)

    async def batch(batch: schemas.BatchFields) -> Response:
        pinned = views.pinned()
        answers = []
        for number, request in enumerate(batch.requests):
            try:
                answers.append((await ranking(pinned, request))[1])
            except MissingView as error:
                return refusal(f"requests.{number}.{error}")
            # Other requests are answered in between.
            await asyncio.sleep(0)
        for answer in answers:  # all of them, or nobody saw any
            record(answer)
        return json_response({"answers": answers}, served=pinned.served)

    # The bounds are of this configuration, so that no name of a type can stand for them above.
    rank.__annotations__["request"] = bounded_request
    batch.__annotations__["batch"] = bounded_batch
    router.post("/rank", response_model=schemas.Ranking, summary="Candidates in a user's order")(rank)
    router.post("/rank/batch", response_model=schemas.Rankings, summary="Several rankings at once")(batch)
    return router


def _arm(pinned: Pinned, request: schemas.RankFields, settings: Service) -> tuple[str | None, Arm]:
    """The name and the settings of the user's arm; none where its scores are not there to be tried."""
    if request.experiment is None:
        return None, _NO_ARM
    experiment = settings.experiments[request.experiment]
    name = assigned(request.experiment, experiment, request.user_id)
    arm = experiment.arms[name]
    if arm.scores is not None and pinned.with_scores(arm.scores) is None:
        return None, _NO_ARM
    return name, arm
