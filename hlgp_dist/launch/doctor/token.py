"""Who may talk to Ray: the token on each node, and whether a stranger without one is let in."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from hlgp_dist.launch.doctor.finding import Finding, State
from hlgp_dist.launch.doctor.fleet import ask_all
from hlgp_dist.launch.doctor.joining import is_refusal, status_as_stranger
from hlgp_dist.launch.doctor.site import Site

CHECK = "token"
STRANGERS = "strangers"
SECONDS = 30.0
SETUP = "`(umask 077; ray get-auth-token --generate > /dev/null)`, bring ~/.ray/auth_token to every node with mode 600"
CLOSE = f"Stop Ray, {SETUP}, export RAY_AUTH_MODE=token there, and start Ray again (docs/cluster.md)."


@dataclass(frozen=True)
class Token:
    """Where a token comes from, never the token: `RAY_AUTH_TOKEN` or a file's path, None without one.

    mode: RAY_AUTH_MODE; permissions: of the file.
    """

    mode: str | None
    source: str | None
    permissions: int | None


def check_token(site: Site) -> list[Finding]:
    """Of each node; of a cluster also, by trying, whether it is open."""
    answers = ask_all(
        site.fleet, CHECK, token, seconds=SECONDS, fix="See why that node does not answer (`ray status`)."
    )
    judged = [judge(node, found, is_cluster=site.cluster is not None) for node, found in answers.of.items()]
    if site.cluster is None:
        return [*answers.missing, *judged]
    return [*answers.missing, *judged, judge_stranger(*status_as_stranger(site.cluster))]


def token() -> Token:
    """Of this process, which Ray started with the environment of its own."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Token(mode, "RAY_AUTH_TOKEN", None)
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file():
        return Token(mode, None, None)
    return Token(mode, str(file), file.stat().st_mode & 0o777)


def judge(node: str, found: Token, *, is_cluster: bool) -> Finding:
    """On a machine without a cluster nothing is open yet: a warning in place of a failure."""
    bad: State = "failed" if is_cluster else "warning"
    measured = asdict(found)
    if found.permissions is not None and found.permissions & 0o077:
        fix = f"chmod 600 {found.source}; who could read it has it: replace it where others use this machine."
        return Finding(CHECK, bad, f"{found.source} has mode {found.permissions:o}", fix, node, measured)
    if found.mode != "token":
        shown = "not set" if found.mode is None else found.mode
        told = f"RAY_AUTH_MODE is {shown}" + ("" if is_cluster else ": a `ray start` here may ask nobody for a token")
        fix = CLOSE if is_cluster else f"Before `ray start`: {SETUP}, and export RAY_AUTH_MODE=token."
        return Finding(CHECK, bad, told, fix, node, measured)
    if found.source is None:
        return Finding(CHECK, bad, "RAY_AUTH_MODE is token, but there is none", f"Run {SETUP}.", node, measured)
    mode = "" if found.permissions is None else f", mode {found.permissions:o}"
    return Finding(CHECK, "ok", f"RAY_AUTH_MODE is token, from {found.source}{mode}", node=node, measured=measured)


def judge_stranger(exit_code: int | None, output: str) -> Finding:
    """Of `ray status` without a token; None where it did not end."""
    if exit_code == 0:
        return Finding(STRANGERS, "failed", "a client without a token is let in, and could run code here", CLOSE)
    if is_refusal(output):
        return Finding(STRANGERS, "ok", "a client without the token is refused")
    told = output.strip().splitlines()[-1:] or ["no answer"]
    fix = "Try it by hand: `env -i HOME=/nonexistent PATH=$PATH ray status --address=ADDRESS` must be refused."
    return Finding(STRANGERS, "warning", f"a client without a token ended with {exit_code}: {told[0][:200]}", fix)
