"""What keeps the webhook from serving."""

from compiler.errors import CompilerError


class WebhookSettingsError(CompilerError):
    """A setting, a certificate or an address cannot be used; the same code as the driver service's."""

    exit_code = 78
