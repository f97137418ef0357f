"""Entry points of Nerfstudio: importing any of them makes its commands report a `UserError` as one sentence."""

from privhead_ns.errors import print_user_errors

print_user_errors()
