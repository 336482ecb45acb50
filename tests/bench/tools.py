"""What the benchmark compares with and measures with, installed into target/ by ordinary package clients."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DIST = REPOSITORY / "dist"
HOME = REPOSITORY / "target" / "bench"
PROGRAMS = HOME / "cargo" / "release"

CARGO_LAMBDA = "cargo-lambda==1.9.2"
EMULATOR = "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@v0.0.0-20261030222936-bef5c4ba774d"
SERVERLESS = ["serverless@3.40.0", "serverless-offline@13.10.1"]


class Missing(Exception):
    """A tool cannot be had here; the text says why."""


def _run(what, command, **options):
    print(f"   {what}", flush=True)
    if shutil.which(command[0]) is None:
        raise Missing(f"{os.path.basename(command[0])} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Missing(f"{what} failed: {lines[-1]}")


def build():
    """echo, limit and load. They are needed: a failure ends the benchmark."""
    for package in "echo", "limit", "load":
        # Each by itself, so that none gets features that another asked for, and `cargo lambda` finds its own ready.
        command = ["cargo", "build", "--locked", "--release", "--quiet", "--package", package]
        subprocess.run(command, cwd=HERE, env=cargo_environment(), check=True)


def cargo_environment():
    return os.environ | {"CARGO_TARGET_DIR": str(HOME / "cargo")}


def cargo_lambda():
    programs = REPOSITORY / "target" / "venv" / "bin"
    program = programs / "cargo-lambda"
    if not program.exists():
        _run(f"pip install {CARGO_LAMBDA}", [str(programs / "python"), "-m", "pip", "install", "--quiet", CARGO_LAMBDA])
    return program


def emulator():
    program = HOME / "bin" / "aws-lambda-rie"
    if not program.exists():
        _run("go install aws-lambda-rie", ["go", "install", EMULATOR], env=os.environ | {"GOBIN": str(program.parent)})
    return program


def serverless():
    folder = HOME / "serverless"
    program = folder / "node_modules" / ".bin" / "serverless"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *SERVERLESS]
        _run(f"npm install {' '.join(SERVERLESS)}", command, cwd=folder)
    return program


def version(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else "unknown"
