"""The one refusal that somebody with more rights can do something about."""

from appliance.errors import RungError


class NotPermittedError(RungError):
    """This process may not do it; root may. The bus then asks the recovery service, where that is installed."""
