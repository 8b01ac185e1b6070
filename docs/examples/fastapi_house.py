"""FastAPI: a host with a lifespan, OAuth2 with JWT, and its own files at /static.

JWT_SECRET_KEY=… uvicorn fastapi_house:app
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from fastapi.staticfiles import StaticFiles

from expresso_persist.http import JwtTokens, Permission
from expresso_persist_fastapi import register_routes

SECRET = os.environ["JWT_SECRET_KEY"]
USERS = {"anna": "organiser", "bert": "barista"}
token_of = OAuth2PasswordBearer(tokenUrl="token")


@contextlib.asynccontextmanager
async def lifespan(application):
    application.state.opened = True
    yield
    application.state.opened = False


app = FastAPI(lifespan=lifespan)
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))


@app.post("/token")
def sign_in(form: Annotated[OAuth2PasswordRequestForm, Depends()]):
    if form.username not in USERS or form.password != "the password":  # yours is better
        raise HTTPException(401)
    claims = {"sub": form.username, "role": USERS[form.username], "exp": time.time() + 3600}
    return {"access_token": jwt.encode(claims, SECRET, "HS256"), "token_type": "bearer"}


@app.get("/me")
def me(token: Annotated[str, Depends(token_of)]):
    return jwt.decode(token, SECRET, algorithms=["HS256"])["sub"]


register_routes(
    app,
    backups=True,  # starts before the host's lifespan, stops after it
    authorize=JwtTokens(
        SECRET,
        algorithms=["HS256"],
        roles={"barista": Permission.WRITE, "organiser": Permission.ADMIN},
    ),
)
