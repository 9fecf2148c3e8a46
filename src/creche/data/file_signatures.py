"""The bytes by which formats of files are recognized."""

COMPRESSION_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
)
BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # after BZh and a digit: of content, and of none
# A signature that is printable text, as PAR1, counts in content with bytes that no text has: a
# header of CSV may begin so too.
TABLE_SIGNATURES = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"ORC", "orc"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
)
IMAGE_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
CONVERT = "convert it to Parquet or CSV"
UNPACK = "unpack it"
# Of files that may be text; no header of a table begins so.
TEXT_SIGNATURES = (
    (b"%PDF-1.", "a PDF document", CONVERT),
    (b"%PDF-2.", "a PDF document", CONVERT),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file with `git lfs pull`"),
)
# Offset, signature, kind of file, and what to do with it.
UNREADABLE_SIGNATURES = (
    (0, b"PARE", "an encrypted Parquet file", "decrypt it"),
    (0, b"FEA1", "a Feather file of version 1", "save it as version 2"),
    (0, b"Obj\x01", "an Avro file", CONVERT),
    (0, b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (8, b"DUCK", "a DuckDB database", "export the table as Parquet"),
    (0, b"\x89HDF\r\n", "an HDF5 file", CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (0, b"MATLAB 5.0", "a MATLAB file", CONVERT),
    (0, b"$FL2", "an SPSS file", CONVERT),
    (0, b"<stata_dta>", "a Stata file", CONVERT),
    (0, b"RDX2\n", "an R data file", CONVERT),
    (0, b"RDX3\n", "an R data file", CONVERT),
    (0, b"\x80\x02", "a Python pickle", CONVERT),
    (0, b"\x80\x03", "a Python pickle", CONVERT),
    (0, b"\x80\x04", "a Python pickle", CONVERT),
    (0, b"\x80\x05", "a Python pickle", CONVERT),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\xff\x06\x00\x00sNaPpY", "compressed with Snappy", "decompress it"),
    (0, b"\x1f\x9d", "compressed with compress", "decompress it"),
)
