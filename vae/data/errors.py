"""What is wrong with data, in one line for the person whose data it is."""

from vae.system.errors import UserError


class DataError(UserError):
    """A damaged data file, or a data set that is not available."""


class DamagedError(DataError):
    """A file whose content is not what it should be."""
