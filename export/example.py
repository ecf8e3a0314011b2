"""Drives a robot by a policy exported to ONNX: python example.py policy.onnx
[episodes].
"""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import onnxruntime

if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
    sys.exit(f"there is no file {sys.argv[1]}" if len(sys.argv) > 1 else __doc__)
session = onnxruntime.InferenceSession(sys.argv[1])
task = json.loads(session.get_modelmeta().custom_metadata_map["task"])
inputs = {x.name: x.shape[1:] for x in session.get_inputs()}
floats = {"tensor(float)": "f4", "tensor(double)": "f8"}
types = {x.name: floats.get(x.type) for x in session.get_inputs()}
if (
    task["env"] not in gymnasium.registry
    or task["revealed"]
    or "observation" not in inputs
):
    sys.exit(
        "this example needs one of Gymnasium's own tasks, and arrays as observations"
    )
env = gymnasium.make(task["env"], **task["env_kwargs"])
start = {}
if "state" in inputs:
    start["state"] = np.zeros((1, *inputs["state"]), np.float32)
# one-hot, where an action is one of several
choices = np.eye(getattr(env.action_space, "n", 0))
for episode in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
    observation, _ = env.reset(seed=episode)
    state = start
    over = False
    total = 0.0
    if task["previous"]:
        # the policy also sees its previous action and reward, which begin with 0
        width = gymnasium.spaces.flatdim(env.observation_space)
        before = np.zeros(inputs["observation"][0] - width)
    while not over:
        if task["previous"]:  # beside which choices are one-hot
            observation = gymnasium.spaces.flatten(env.observation_space, observation)
        observation = np.asarray(observation, types["observation"])
        if task["previous"]:
            observation = np.concatenate([observation, before]).astype(
                observation.dtype
            )
        action, *new = session.run(None, {"observation": observation[None], **state})
        # fast weights among it: the policy goes on learning
        state = dict(zip(state, new))
        observation, reward, terminated, truncated, _ = env.step(action[0])
        before = np.append(
            choices[action[0]] if choices.size else action[0], float(reward)
        )
        total = total + float(reward)
        over = terminated or truncated
    print(f"episode {episode}: return {total:.1f}")
