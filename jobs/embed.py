"""Embed every slice of an archive with a registered encoder, into Parquet files beside the dataset's shards.

    python jobs/embed.py --model models:/mri-core@champion --data DATASET --out EMBEDDINGS
    python jobs/embed.py --model models:/mri-core/3 --data s3://pacs/dicom --out s3://mri/embedded --gpus 1 \\
        --size 1024 --dense --set embed.precision=bfloat16

DATASET is a curated dataset, or raw DICOM, which is curated first. The same command goes on where it was
interrupted. docs/embeddings.md tells what the files hold, and how they are read and joined.
"""

import argparse
import sys
from collections.abc import Sequence

from mricore.workflows.embed import EmbedRequest, embed_archive, shorthand
from mricore.workflows.entry import add_setting_arguments, run, whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and embed."""
    parser = argparse.ArgumentParser(
        prog="jobs/embed.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="URI", help="models:/name@alias, or a folder")
    parser.add_argument("--data", required=True, metavar="URI", help="curated dataset or raw DICOM")
    parser.add_argument("--out", required=True, metavar="URI", help="folder or s3:// of the embeddings")
    parser.add_argument(
        "--size", dest="image_size", type=whole_number(1), metavar="PX", help="default: the encoder's"
    )
    parser.add_argument("--dense", action="store_true", default=None, help="also the features of patches")
    parser.add_argument("--batch", type=whole_number(1), metavar="N", help="slices at once (default: 64)")
    parser.add_argument("--gpus", type=float, metavar="F", help="of each worker; 0.5: two share one")
    parser.add_argument("--workers", type=whole_number(1), metavar="N", help="default: as many as fit")
    add_setting_arguments(parser)
    options = parser.parse_args(arguments)
    embed_archive(
        EmbedRequest(
            model=options.model,
            data=options.data,
            out=options.out,
            key_file=options.key,
            assignments=(*shorthand(vars(options)), *options.assignments),
        )
    )


if __name__ == "__main__":
    sys.exit(run(main))
