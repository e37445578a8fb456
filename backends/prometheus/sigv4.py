"""AWS Signature Version 4, by botocore: how Amazon Managed Service for Prometheus lets one in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from requests import PreparedRequest

from backends.prometheus.deadline import run_in_time
from backends.prometheus.http_config import SigV4
from rollout.errors import UnavailableError

SERVICE: Final = "aps"


def signer(config: SigV4) -> Callable[[PreparedRequest], None]:
    """Return what signs a request; keys are looked for at the first one, as the AWS CLI does, and renewed in time."""
    session = _Session(config)

    def sign(request: PreparedRequest) -> None:
        try:
            # Keys may come from a server that is slow or away, and botocore's own limits are minutes.
            keys, region = run_in_time(("sigv4", id(session)), session.keys)
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(f"sigv4: no keys for AWS: {type(error).__name__}") from None
        if keys is None or not region:
            raise UnavailableError(f"sigv4: no {'region' if keys else 'keys for AWS'}, neither in sigv4 nor AWS' own")
        # AWS takes a plus for a plus, where forms take it for a space.
        address, question, query = str(request.url).partition("?")
        request.url = address + question + query.replace("+", "%20")
        signed = AWSRequest(method=request.method, url=request.url)
        SigV4Auth(keys, SERVICE, region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))

    return sign


class _Session:
    def __init__(self, config: SigV4) -> None:
        self._config = config
        self._credentials: Any = None
        self._region = config.region

    def keys(self) -> tuple[Any, str]:
        """Return the keys of this moment, None where there are none, and the region."""
        if self._credentials is None:
            self._credentials = self._find_credentials()
        return self._credentials and self._credentials.get_frozen_credentials(), self._region

    def _find_credentials(self) -> Any:
        config = self._config
        session = botocore.session.Session(profile=config.profile or None)
        self._region = config.region or session.get_config_variable("region") or ""
        if config.secret_key:
            session.set_credentials(config.access_key, config.secret_key.get_secret_value())
        credentials = session.get_credentials()
        if credentials is None or not config.role_arn:
            return credentials
        create = partial(session.create_client, region_name=self._region)
        fetcher = AssumeRoleCredentialFetcher(create, credentials, config.role_arn)
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
