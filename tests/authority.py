"""A certificate authority of the tests' own."""

import datetime as dt
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A CA that writes certificates as PEM files into `folder`; `ca` is what its users trust."""

    def __init__(self, folder):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(folder.name)
        folder.mkdir(exist_ok=True)
        self.ca = self._write("ca", self._name, self._key, None)[0]

    def issue(self, name, address="127.0.0.1", *, first_day=-1, last_day=1):
        """The files of a certificate for `address`, an IP address or a host name, and its key."""
        is_ip = address[0].isdigit()
        named = x509.IPAddress(ipaddress.ip_address(address)) if is_ip else x509.DNSName(address)
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, _named(name), key, named, first_day, last_day)

    def server(self, address="127.0.0.1", **days):
        """A server's TLS with a certificate for `address`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.issue("server", address, **days))
        return context

    def client(self):
        """A client's TLS that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.ca)

    def _write(self, file, subject, key, named, first_day=-1, last_day=1):
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder(self._name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=first_day))
            .not_valid_after(now + dt.timedelta(days=last_day))
            .add_extension(x509.BasicConstraints(named is None, None), critical=True)
        )
        if named is not None:
            names = x509.SubjectAlternativeName([named])
            certificate = certificate.add_extension(names, critical=False)
        pem, key_pem = self.folder / f"{file}.pem", self.folder / f"{file}-key.pem"
        signed = certificate.sign(self._key, hashes.SHA256())
        pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(pem), str(key_pem)


def _named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
