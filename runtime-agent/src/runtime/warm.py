# A Python interpreter that waits for a function: everything that is the same for all functions is done before the claim.
#
# Says "warm" on descriptor 3, and reads the claim there, a message each. A function finds the interpreter as a fresh
# start would leave it, but that the client and the SDK are imported; what their import alone does stays with them.


def warm(library, interpreter):
    import sys

    # Nothing is imported from the working directory, and nothing remembers it.
    path_at_start = [folder for folder in sys.path if folder]
    sys.path[:] = path_at_start

    import functools
    import gc
    import importlib.machinery
    import json
    import os
    import time

    CHANNEL = 3
    # These replace parts of the standard library, which must not be in use by then.
    PATCH_EVERYTHING = {"gevent", "eventlet"}
    at_start = dict(os.environ)
    # The dynamic linker remembers folders that were missing when it first looked.
    missing = [f for f in os.environ.get("LD_LIBRARY_PATH", "").split(":") if f and not os.path.isdir(f)]

    def prepare():
        import awslambdaric.bootstrap
        import awslambdaric.lambda_config
        import awslambdaric.lambda_runtime_client
        import runpy

        try:
            import boto3
            import botocore.loaders
        except ImportError:
            return
        # A session of its own: boto3's default session stays unmade.
        session = boto3.session.Session(
            aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1"
        )
        session.client("s3", endpoint_url="http://localhost").close()
        share_models(botocore.loaders.Loader, session._loader)

    def share_models(Loader, filled):
        """New loaders of the same folders begin with what the practice client has read and parsed."""
        plain, models, folders = Loader.__init__, dict(filled._cache), Loader().search_paths

        def __init__(self, *args, **kwargs):
            plain(self, *args, **kwargs)
            if self.search_paths == folders:
                self._cache.update(models)

        Loader.__init__ = functools.wraps(plain)(__init__)

    def shadowed(folders):
        """Whether a module of the function's would have been imported instead of one that is loaded."""
        loaded = {name.partition(".")[0] for name in sys.modules} | PATCH_EVERYTHING
        suffixes = importlib.machinery.all_suffixes()

        def is_module(folder, name):
            stem, _, suffix = name.partition(".")
            if stem not in loaded:
                return False
            if suffix:
                return "." + suffix in suffixes
            return any(os.path.exists(os.path.join(folder, name, "__init__" + each)) for each in suffixes)

        def names(folder):
            try:
                return os.listdir(folder)
            except OSError:
                return []

        return any(is_module(folder, name) for folder in folders for name in names(folder))

    def fits(claim):
        layer, version = claim["layer"], "python{}.{}".format(*sys.version_info)
        folders = [
            claim["directory"],
            "{}/python/lib/{}/site-packages".format(layer, version),
            layer + "/python",
        ]
        return not shadowed(folders) and not any(map(os.path.isdir, missing))

    def become(claim):
        os.environ.clear()
        os.environ.update(claim["environment"])
        os.chdir(claim["directory"])
        time.tzset()
        sys.path[:] = path_at_start
        if "random" in sys.modules:
            sys.modules["random"].seed()
        if "tempfile" in sys.modules:
            # Where it is depends on the environment.
            sys.modules["tempfile"].tempdir = None
        # These two are read when the client is imported.
        if "AWS_LAMBDA_LOG_FORMAT" in os.environ or "AWS_LAMBDA_LOG_LEVEL" in os.environ:
            del sys.modules["awslambdaric.bootstrap"], sys.modules["awslambdaric"].bootstrap

    sys.path[:] = library + [folder for folder in path_at_start if folder not in library]
    prepare()
    gc.collect()
    os.environ.clear()
    os.environ.update(at_start)
    os.write(CHANNEL, b"warm")

    message = os.read(CHANNEL, 1 << 20)
    if not message:
        os._exit(0)
    claim = json.loads(message)
    os.close(CHANNEL)
    if not fits(claim):
        environment = dict(claim["environment"])
        os.chdir(claim["directory"])
        os.execve(interpreter, [interpreter, "-c" + claim["fresh"]], environment)
    become(claim)
    return library, claim["layer"], claim["handler"]
