"""Options that several commands have."""

from typing import Annotated

import typer

from daam.commands.terminal.screen import keep_stdout_for_json

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be repeated."),
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster; `auto`: the one this machine is part of.")
]
Stages = Annotated[
    str | None, typer.Option(help="Folder or s3:// where runs share their source stages.")
]
OrResume = Annotated[
    bool,
    typer.Option(
        "--or-resume",
        help="Resume what has this name in --storage, if it has begun: the same command can be "
        "given again after an interruption.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=keep_stdout_for_json,
        help="Print the result as JSON; everything else goes to standard error.",
    ),
]
Checkpoint = Annotated[str, typer.Option(help="Folder of a run, local or on S3.")]
DomainName = Annotated[str, typer.Option(help="Name of the domain.")]
DomainsAt = Annotated[
    str, typer.Option("--at", help="Folder or s3://bucket/prefix of the domains.")
]
MovedTo = Annotated[
    str | None, typer.Option("--at", help="Where the domains are now, if they have moved.")
]
EmbeddedDomain = Annotated[
    str | None,
    typer.Option("--domain", help="Domain whose images will be embedded; default: the target."),
]
