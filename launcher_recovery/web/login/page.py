"""The login page as HTML: plain, without any script."""

from __future__ import annotations

from markupsafe import Markup

from launcher_recovery.web.login.words import WORDS

LANGUAGES = {"en": "en", "zh": "zh-CN"}

# Filled in by Markup.format, which escapes.
_PAGE = Markup(
    """<!doctype html>
<html lang="{lang}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title}</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="login.css">
</head>
<body>
  <main>
    <h1>{heading}</h1>
    <p id="why">{why}</p>
    {alert}
    <form method="post" action="login">
      <input type="hidden" name="next" value="{following}">
      <label for="token">{token}</label>
      <input id="token" name="token" type="password" autocomplete="current-password" required autofocus
        aria-describedby="why">
      <button type="submit">{button}</button>
    </form>
    <p><a href="{following}">{already}</a></p>
  </main>
</body>
</html>
"""
)
_ALERT = Markup('<p class="alert" role="alert">{}</p>')


def login_page(language: str, following: str, alert: str = "", **values: object) -> str:
    """The page.

    Args:
        language: one of `LANGUAGES`.
        following: the path that is shown when the token was right.
        alert: name of the words that say what was wrong; empty: nothing was.
        values: what these words need.
    """
    words = WORDS[language]
    shown = _ALERT.format(words[alert].format(**values)) if alert else ""
    return _PAGE.format(lang=LANGUAGES[language], following=following, alert=shown, **words)
