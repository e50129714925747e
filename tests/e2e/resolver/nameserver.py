"""A name server that knows one thing: every name is 127.0.0.1. `nameserver.py ADDRESS SILENT`

It answers on ADDRESS, and on the address SILENT it takes every question and says nothing, as one does whose answers are lost on
the way. Why so: what the system's resolver does about that can only be seen with the system's resolver.
Limits: UDP, one question a packet, port 53, so a network namespace of its own is needed.
"""

import socket
import struct
import sys

PORT, A = 53, 1


def bound(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, PORT))
    return server


def answer(question):
    end = 12
    while question[end]:
        end += question[end] + 1
    (kind,) = struct.unpack(">H", question[end + 1 : end + 3])
    found = kind == A
    head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, found, 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 0, 4) + socket.inet_aton("127.0.0.1")
    return head + question[12 : end + 5] + (record if found else b"")


def main(address, silent):
    server, _silent = bound(address), bound(silent)
    print("ready", flush=True)
    while True:
        question, asker = server.recvfrom(512)
        server.sendto(answer(question), asker)


if __name__ == "__main__":
    main(*sys.argv[1:])
