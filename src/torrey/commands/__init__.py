"""The subcommands of `torrey`: thin layers over the rooms, one file each."""
