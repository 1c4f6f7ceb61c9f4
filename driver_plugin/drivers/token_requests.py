"""Tokens for the KFP API that Kubernetes issues for the service's own account (spec DEPLOY 6.3)."""

from datetime import UTC, datetime
from typing import Final

from driver_plugin.kubernetes import KubernetesClient, KubernetesError
from driver_plugin.own_account import OwnAccount
from kfp_api.credentials import IssuedToken, TokenRequestCredentials
from kfp_api.errors import ApiCredentialError, ApiUnavailableError

LIFETIME_SECONDS: Final = 3600
"""What is asked for; a cluster may give less."""


def requested_credentials(
    kubernetes: KubernetesClient, account: OwnAccount, *, audience_base: str
) -> TokenRequestCredentials:
    """Credentials whose tokens Kubernetes issues for ``account``: one for each run, and a broad one."""

    async def request(audience: str) -> IssuedToken:
        try:
            issued = await kubernetes.create_token(
                account.namespace,
                account.name,
                audience=audience,
                lifetime_seconds=LIFETIME_SECONDS,
                secret=account.secret,
            )
        except KubernetesError as error:
            kind = ApiUnavailableError if error.retryable else ApiCredentialError
            raise kind(f"no token for the KFP API: {error}") from error
        left = issued.expires_at - datetime.now(UTC)
        return IssuedToken(token=issued.token, lifetime_seconds=left.total_seconds())

    return TokenRequestCredentials(request, audience_base=audience_base)
