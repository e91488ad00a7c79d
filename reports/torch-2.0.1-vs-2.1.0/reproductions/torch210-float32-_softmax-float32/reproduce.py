"""aten::_softmax: does this torch behave like torch 2.0.1 or like torch 2.1.0? See README.md."""
import hashlib, json, pathlib, torch
from safetensors.torch import load_file

here = pathlib.Path(__file__).parent
torch.set_num_threads(1)
stored = load_file(here / "inputs.safetensors")
x = [stored[f"input{i}"].clone() for i in range(1)]
x[0] = torch.empty_strided((1, 1, 1, 64), (65712, 5476, 74, 1), dtype=x[0].dtype).copy_(x[0])
with torch.no_grad():
    result = torch.ops.aten._softmax.default(x[0], dim=-1, half_to_float=False)
outputs = [result]
raw = [t.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in outputs]
hashes = [hashlib.sha256(data).hexdigest() for data in raw]
known = json.loads((here / "expected.json").read_text())["behaviours"]
print("torch", torch.__version__, *hashes)
print("behaves like", next((name for name in known if known[name]["sha256"] == hashes), "neither"))
