"""``forge import-onnx``: a network from another framework becomes an INT8 ``.tflite`` of the appliance.

``graph`` reads the file, ``operators`` judges it before anything is converted, ``convert`` runs onnx2tf in an
environment of its own (``worker``), ``stages`` measures what each stage changed, ``importing`` is the whole.
"""
