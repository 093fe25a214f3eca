"""TLS by uvicorn's own options, tried before anything slow is done."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of the service, and the authorities of its clients' certificates.

    Attributes:
        certfile: the certificate chain in PEM.
        keyfile: its private key in PEM; None where it is in the same file.
        password: of the private key; empty for none.
        ca_certs: authorities in PEM. With them a client must have a certificate that one of them signed.
    """

    certfile: Path
    keyfile: Path | None = None
    password: str = ""
    ca_certs: Path | None = None

    def uvicorn_options(self) -> dict[str, Any]:
        """Return the options of uvicorn.

        Raises:
            ConfigurationError: a file can not be read, or they do not belong together.
        """
        self._try()
        return {
            "ssl_certfile": self.certfile,
            "ssl_keyfile": self.keyfile,
            "ssl_keyfile_password": self.password,
            "ssl_ca_certs": self.ca_certs,
            "ssl_cert_reqs": ssl.CERT_NONE if self.ca_certs is None else ssl.CERT_REQUIRED,
        }

    def _try(self) -> None:
        for path in filter(None, (self.certfile, self.keyfile, self.ca_certs)):
            try:
                path.read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"{path} can not be read: {error.strerror}. The settings FOVEAL_SSL_… name the files of the "
                    "certificate."
                ) from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A function that always answers: without a password OpenSSL would ask at the terminal.
            context.load_cert_chain(self.certfile, self.keyfile, lambda: self.password)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"{self.certfile} and its private key can not be used: {_reason(error)}. They must be PEM and belong "
                "together, and FOVEAL_SSL_KEYFILE_PASSWORD must be right where the key has one."
            ) from error
        if self.ca_certs is not None:
            try:
                context.load_verify_locations(self.ca_certs)
            except ssl.SSLError as error:
                raise ConfigurationError(
                    f"{self.ca_certs} holds no certificate in PEM: {_reason(error)}. FOVEAL_SSL_CA_CERTS names it."
                ) from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "OpenSSL refuses it").replace("_", " ").lower()
