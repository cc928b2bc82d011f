"""GGUF files <-> ModelConfig and parameters: tensors.py reads numbers, head.py the values that all architectures share,
one file per kin of architectures, architectures.py chooses among them, write.py makes a file."""
