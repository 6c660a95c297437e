"""Model folders for the example engine (engines/example/description.c has the language of example.txt)."""
import pathlib

DTYPES = {"float": "f4", "double": "f8", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1",
          "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "?", "string": "O", "half": "f2", "complex64": "c8",
          "complex128": "c16"}

# Longer than any test waits: a call of `stuck` that is not cut short fails its test.
STUCK_MS = 300000

MANY = """
signature serving_default
input x float [-1]
output y float [-1] affine 0.5 {addend} x

signature slow
input x float [-1]
output y float [-1] affine 0.5 {addend} x
sleep 1500

signature stuck
input x float [-1]
output y float [-1] affine 0.5 {addend} x
sleep {stuck}

signature pair
input a float [-1]
input b int32 [-1]
output a float [-1] affine 2 0 a
output b int32 [-1] identity b

signature matrix
input x float [-1,2]
output y float [-1,2] affine 1 0 x

signature fails
input x float [-1]
output y float [-1] identity x
fail 9 "broken" on purpose: {{x}} größer

signature hold
input x float [-1]
output y float [-1] affine 1 1 x
output x float [-1] identity x
hold 300
"""


def text(addend=2):
    out = MANY.format(addend=addend, stuck=STUCK_MS)
    for name in DTYPES:
        out += f"\nsignature {name}\ninput x {name} ?\noutput y {name} ? identity x\n"
    return out


def write(folder, version=1, body=None, addend=2):
    """Writes FOLDER/VERSION/example.txt as a server that watches the folder should see it: at once. -> FOLDER."""
    folder = pathlib.Path(folder)
    part = folder / f"part-{version}"
    part.mkdir(parents=True)
    (part / "example.txt").write_text(text(addend) if body is None else body, encoding="utf-8")
    part.rename(folder / str(version))
    return folder
