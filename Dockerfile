# The tested set of packages, without a display: videos are drawn by Mesa's software renderer.
#   docker build -t spikepropamine .
#   docker run --rm -v "$PWD/runs:/home/user/runs" spikepropamine train --env CueAssociation-v0 --policy ndp-oja
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git libegl1 libgl1-mesa-dri libosmesa6 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home user
WORKDIR /opt/spikepropamine
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir -r requirements.lock
COPY . .
RUN python -m pip install --no-cache-dir --no-deps -e .
USER user
WORKDIR /home/user
ENV MUJOCO_GL=egl
ENTRYPOINT ["spikepropamine"]
