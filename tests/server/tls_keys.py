"""Keys and certificates for the TLS tests, made by the openssl command; and the files that --ssl_config_file takes."""
import pathlib
import subprocess


def openssl(*args, stdin=None):
    done = subprocess.run(["openssl", *map(str, args)], input=stdin, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key, self.cert = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)
        self.pem = self.cert.read_bytes()

    def sign(self, name, usage="serverAuth", names="DNS:localhost,IP:127.0.0.1"):
        """-> (key file, certificate file)"""
        key, request, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        more = self.folder / f"{name}.ext"
        more.write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n", encoding="ascii")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                "-extfile", more, "-out", cert)
        return key, cert


def text(pem):
    """A string of protobuf's text format."""
    if isinstance(pem, pathlib.Path):
        pem = pem.read_bytes()
    return '"' + pem.decode("ascii").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def write_config(file, pair=None, ca=None, verify=None):
    parts = []
    if pair:
        parts += [f"server_key: {text(pair[0])}", f"server_cert: {text(pair[1])}"]
    if ca:
        parts.append(f"custom_ca: {text(ca)}")
    if verify is not None:
        parts.append(f"client_verify: {str(verify).lower()}")
    part = pathlib.Path(f"{file}.part")
    part.write_text("\n".join(parts) + "\n", encoding="ascii")
    part.rename(file)
    return file
