"""The hook protocol as protoc and grpcio understand it; what both peers share."""

import importlib
import os
import subprocess
import sys

import grpc

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = ["v1alpha3", "v1alpha2", "v1alpha1"]
INFO = "kubevirt.hooks.info.Info"
STRUCTURED = "kubevirt.hooks.plugins.v1alpha1.DomainHookService"


def load():
    """Messages of each .proto beside this file, generated once."""
    names = ["info", "plugins", *VERSIONS]
    generated = os.path.join(HERE, "generated")
    if not os.path.isdir(generated):
        making = f"{generated}.{os.getpid()}"
        os.makedirs(making)
        protos = [os.path.join(HERE, "proto", f"{name}.proto") for name in names]
        subprocess.run(["protoc", f"--proto_path={HERE}/proto", f"--python_out={making}", *protos], check=True)
        try:
            os.rename(making, generated)
        except OSError:
            pass  # another peer was faster
    sys.path.insert(0, generated)
    return {name: importlib.import_module(f"{name}_pb2") for name in names}


def callbacks(version):
    return f"kubevirt.hooks.{version}.Callbacks"


def call(channel, service, method, request, reply, timeout):
    stub = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )
    return stub(request, timeout=timeout)


def dial(socket, timeout):
    channel = grpc.insecure_channel(f"unix:{socket}", options=[("grpc.max_receive_message_length", 16 << 20)])
    grpc.channel_ready_future(channel).result(timeout=timeout)
    return channel
