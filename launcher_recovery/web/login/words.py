# ruff: noqa: RUF001 (the signs of that script)
"""What the login page says, by language."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Recovery: log in",
        "heading": "Log in",
        "why": "This page needs the token that was set as RECOVERY_API_TOKEN where the launcher was started.",
        "token": "Token",
        "button": "Log in",
        "already": "Already logged in? Go on to the page.",
        "wrong": "That is not the token: it is in the settings of whoever started the launcher.",
        "often": "There were too many attempts: wait {seconds} seconds and try again.",
    },
    "zh": {
        "title": "恢复：登录",
        "heading": "登录",
        "why": "此页面需要启动器启动时设置的 RECOVERY_API_TOKEN 令牌。",
        "token": "令牌",
        "button": "登录",
        "already": "已经登录过？直接继续。",
        "wrong": "令牌不正确：请向启动此启动器的人索取其设置中的令牌。",
        "often": "尝试次数过多：请等待 {seconds} 秒后再试。",
    },
}
