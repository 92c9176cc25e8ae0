"""Flows of five durable steps for DBOS: each step is one POST.

Arguments: the port to listen on, the database, where steps are posted. `POST /runs` with `{"n": NUMBER}` is
answered once the run is in the database.
"""

import sys

import aiohttp
from aiohttp import web
from dbos import DBOS

PORT, DATABASE, TARGET = sys.argv[1:]
# Connections to the database: in its favour, more than it comes with.
POOL = 50

DBOS(
    config={
        "name": "five",
        "system_database_url": DATABASE,
        "sys_db_pool_size": POOL,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
)
session = None


@DBOS.step()
async def post(number, step):
    async with session.post(f"{TARGET}/step/{number}", json=step) as answer:
        answer.raise_for_status()


@DBOS.workflow()
async def five(number):
    for step in range(5):
        await post(5 * number + step, step)


async def take(request):
    event = await request.json()
    await DBOS.start_workflow_async(five, event["n"])
    return web.Response(status=202)


async def application():
    global session
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))
    DBOS.launch()
    door = web.Application()
    door.router.add_post("/runs", take)
    return door


web.run_app(application(), host="127.0.0.1", port=int(PORT), print=None, access_log=None)
