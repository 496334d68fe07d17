"""Model certificates by PyPI `model-signing`, in both directions.

usage: model_signing.py verify DIR CERTIFICATE PUBLIC_KEY     a certificate of ours is a good signature of theirs
       model_signing.py refuse DIR CERTIFICATE PUBLIC_KEY     … and is not one of what is in DIR
       model_signing.py sign DIR SIGNATURE PRIVATE_KEY        makes a signature of theirs
"""

import pathlib
import sys

# This file has the module's name, and its folder comes first.
sys.path.pop(0)
import model_signing.signing
import model_signing.verifying

command, folder, file, key = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])


def verify():
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
    config.verify(folder, file)


if command == "sign":
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[file.name], ignore_git_paths=True)
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(hashing)
    config.sign(folder, file)
    print("ok - signed")
elif command == "verify":
    verify()
    print("ok - verified")
else:
    try:
        verify()
    except Exception as error:
        print(f"ok - refused: {type(error).__name__}: {error}")
    else:
        print("not ok - verified")
        sys.exit(1)
