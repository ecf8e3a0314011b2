"""Drives a robot by a policy exported to ONNX: python example.py policy.onnx [episodes]."""

import json
import sys

import gymnasium
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
task = json.loads(session.get_modelmeta().custom_metadata_map["task"])
env = gymnasium.make(task["env"], **task["env_kwargs"])
inputs = {x.name: x.shape[1:] for x in session.get_inputs()}
rest = {"state": np.zeros((1, *inputs["state"]), np.float32)} if "state" in inputs else {}
for episode in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
    (observation, _), state, over, total = env.reset(seed=episode), rest, False, 0.0
    while not over:
        action, *new = session.run(None, {"observation": observation[None], **state})
        state = dict(zip(state, new))  # fast weights among it: the policy goes on learning
        observation, reward, terminated, truncated, _ = env.step(action[0])
        total, over = total + float(reward), terminated or truncated
    print(f"episode {episode}: return {total:.1f}")
