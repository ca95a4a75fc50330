"""Tensors and numbers in, PNG and GIF out: the only room that knows matplotlib."""
