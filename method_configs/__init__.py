"""Entry points of Nerfstudio: importing any of them makes its commands report a `UserError` as one sentence."""

from privhead_ns.errors import print_user_errors
from privhead_ns.quick_start import quicken

print_user_errors()
quicken()
