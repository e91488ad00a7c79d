"""aten::linalg_vector_norm: does this torch behave like torch 2.7.1 or like torch 2.8.0? See README.md."""
import hashlib, json, pathlib, torch
from safetensors.torch import load_file

here = pathlib.Path(__file__).parent
torch.set_num_threads(1)
stored = load_file(here / "inputs.safetensors")
x = [stored[f"input{i}"].clone() for i in range(1)]
with torch.no_grad():
    result = torch.ops.aten.linalg_vector_norm.default(x[0], dim=[2], keepdim=True)
outputs = [result]
raw = [t.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in outputs]
hashes = [hashlib.sha256(data).hexdigest() for data in raw]
known = json.loads((here / "expected.json").read_text())["behaviours"]
print("torch", torch.__version__, *hashes)
print("behaves like", next((name for name in known if known[name]["sha256"] == hashes), "neither"))
