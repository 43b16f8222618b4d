"""The Python code of a page of docs/, as one program."""

import re

from helpers import PROJECT


def code_of(page):
    text = (PROJECT / "docs" / page).read_text()
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
