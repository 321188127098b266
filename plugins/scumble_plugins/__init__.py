"""The built-in editing methods, one file each."""
