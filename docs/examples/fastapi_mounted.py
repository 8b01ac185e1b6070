"""FastAPI: as a sub-application, and behind a proxy that has a path of its own for it.

uvicorn fastapi_mounted:app                                  # at /coffee
uvicorn --root-path /events fastapi_mounted:app     # the proxy takes /events off the path
ROOT_PATH=/events uvicorn fastapi_mounted:app       # the proxy leaves it there
"""

import contextlib
import os

from fastapi import FastAPI

from expresso_persist_fastapi import register_routes

coffee = FastAPI()
register_routes(coffee, backups=True)


@contextlib.asynccontextmanager
async def lifespan(_application):
    # Starlette runs no lifespan of what is mounted; without this no backups are made.
    async with coffee.router.lifespan_context(coffee):
        yield


app = FastAPI(lifespan=lifespan, root_path=os.environ.get("ROOT_PATH", ""))
app.mount("/coffee", coffee)


@app.get("/")
def home():
    return "the host's"
