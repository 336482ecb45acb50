# Runs AWS's runtime interface client for one function, as `python3 -m awslambdaric HANDLER` does, with the search path
# that AWS's managed runtimes have. `library`, `layer` and `handler` are set by whoever runs this text.


def start(library, layer, handler):
    import os
    import runpy
    import sys

    rest = [folder for folder in sys.path if folder and folder not in library]
    if os.environ.get("PYTHONPATH", "/var/runtime") == "/var/runtime":
        version = "python{}.{}".format(*sys.version_info)
        layers = ["{}/python/lib/{}/site-packages".format(layer, version), layer + "/python"]
    else:
        layers = []
    sys.path[:] = [os.getcwd(), *layers, *library, *rest]
    sys.argv = ["-m", handler]
    runpy._run_module_as_main("awslambdaric")
