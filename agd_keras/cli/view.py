"""`agd-view`: see scans, predictions and runs in the browser."""

import argparse
import sys

from agd_keras.cli import common
from agd_keras.web import find_page

_EPILOG = """\
  agd-view scan.nii.gz               predicts it and shows what the network saw
  agd-view predictions/ scans/       what agd-predict wrote, over the scans it was given
  agd-view runs/NAME                 the test patients of a run, worst first
The page is served on 127.0.0.1 only, under an address that nobody can guess, until Ctrl-C.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-view` and returns its exit status."""
    parser = common.parser("agd-view", "See scans, predictions and runs in the browser.", _EPILOG)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a scan, a folder, or a run")
    parser.add_argument(
        "--model",
        default="agd_small",
        metavar="MODEL",
        help="model that predicts scans (default: %(default)s)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="the data set of a run, if it is elsewhere now"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open nothing"
    )
    return common.run(_view, parser.parse_args(argv))


def _view(arguments: argparse.Namespace) -> None:
    page = find_page()
    from agd_keras.view.find import find_listing
    from agd_keras.view.server import Viewer

    listing = find_listing(arguments.inputs, arguments.model, arguments.data)
    with Viewer(page, listing) as server:
        print(f"cases: {len(listing.entries)}; Ctrl-C ends")
        print(f"page: {server.url}", flush=True)
        if not arguments.no_browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt as interrupt:
            if hasattr(interrupt, "signum"):  # of SIGTERM, which is told by the exit status
                raise


if __name__ == "__main__":
    sys.exit(main())
