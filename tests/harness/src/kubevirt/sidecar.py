"""Plays a hook sidecar: sidecar.py SOCKET NAME VERSION DIRECTORY. Programs of the directory are run for each call as KubeVirt's
sidecar-shim runs its hooks: `onDefineDomain --vmi JSON --domain XML` and `preCloudInitIso --vmi JSON --cloud-init JSON`; what
they print is the answer. A line is printed when the socket is served, and the process ends when it is told to shut down.
"""

import os
import subprocess
import sys
import threading
from concurrent import futures

import grpc

import wire

PB = wire.load()
SOCKET, NAME, VERSION, DIRECTORY = sys.argv[1:5]
ENDED = threading.Event()


def run(context, program, *arguments):
    done = subprocess.run([os.path.join(DIRECTORY, program), *arguments], stdout=subprocess.PIPE)
    if done.returncode != 0:
        context.abort(grpc.StatusCode.INTERNAL, f"{program} ended with {done.returncode}")
    return done.stdout


def info(request, context):
    pb = PB["info"]
    names = {"v1alpha1": 1, "v1alpha2": 2, "v1alpha3": 3}[VERSION]
    every = ["OnDefineDomain", "PreCloudInitIso", "Shutdown"]
    subscriptions = [pb.HookPoint(name=name, priority=0) for name in every[:names]]
    return pb.InfoResult(name=NAME, versions=[VERSION], hookPoints=subscriptions)


def on_define_domain(request, context):
    out = run(context, "onDefineDomain", "--vmi", request.vmi.decode(), "--domain", request.domainXML.decode())
    return PB[VERSION].OnDefineDomainResult(domainXML=out)


def pre_cloud_init_iso(request, context):
    """As the shim of KubeVirt: the newer form to the program, the older one as it came."""
    data = request.cloudInitData.decode()
    out = run(context, "preCloudInitIso", "--vmi", request.vmi.decode(), "--cloud-init", data)
    return PB[VERSION].PreCloudInitIsoResult(cloudInitData=out, cloudInitNoCloudSource=request.cloudInitNoCloudSource)


def shutdown(request, context):
    ENDED.set()
    return PB[VERSION].ShutdownResult()


def handler(service, method, work, request):
    unary = grpc.unary_unary_rpc_method_handler(
        work, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString()
    )
    return (service, method, unary)


def main():
    pb, service = PB[VERSION], wire.callbacks(VERSION)
    handlers = [
        handler(wire.INFO, "Info", info, PB["info"].InfoParams),
        handler(service, "OnDefineDomain", on_define_domain, pb.OnDefineDomainParams),
    ]
    if VERSION != "v1alpha1":
        handlers.append(handler(service, "PreCloudInitIso", pre_cloud_init_iso, pb.PreCloudInitIsoParams))
    if VERSION == "v1alpha3":
        handlers.append(handler(service, "Shutdown", shutdown, pb.ShutdownParams))
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 16 << 20)])
    for service, method, unary in handlers:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: unary})])
    server.add_insecure_port(f"unix:{SOCKET}")
    server.start()
    print("serving", flush=True)
    ENDED.wait()
    server.stop(1).wait()


main()
