"""Run in a process of its own with TensorFlow and tensorflow-serving-api: how descriptors.bin differs from theirs."""
import importlib
import json
import pathlib
import sys

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, wrappers_pb2

files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(sys.argv[1]).read_bytes()).file
ours = descriptor_pool.DescriptorPool()
for module in (any_pb2, wrappers_pb2):
    ours.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
different = []


def same(name, one, other):
    if one != other:
        different.append([name, one, other])


def type_of(field):
    of = field.message_type or field.enum_type
    return [field.name, field.number, field.type, field.json_name, field.is_repeated, field.is_packed if field.is_repeated else None,
            of.full_name if of else None, field.containing_oneof.name if field.containing_oneof else None]


def compare_enum(one, other):
    same(one.full_name, [[v.name, v.number] for v in one.values], [[v.name, v.number] for v in other.values])


def compare_message(one, other):
    same(one.full_name, bool(one.GetOptions().map_entry), bool(other.GetOptions().map_entry))
    theirs = {field.name: type_of(field) for field in other.fields}
    for field in one.fields:
        same(f"{one.full_name}.{field.name}", type_of(field), theirs.pop(field.name, None))
    for name in theirs:
        different.append([f"{one.full_name}.{name}", None, "missing"])
    for nested in one.nested_types:
        compare_message(nested, other.nested_types_by_name[nested.name])
    for nested in one.enum_types:
        compare_enum(nested, other.enum_types_by_name[nested.name])


for file in files:
    ours.AddSerializedFile(file.SerializeToString())
    module = importlib.import_module(file.name[:-len(".proto")].replace("/", ".") + "_pb2")
    one, other = ours.FindFileByName(file.name), module.DESCRIPTOR
    same(file.name, [one.package], [other.package])
    for name, message in one.message_types_by_name.items():
        # One of them only hands on what stands in another file.
        compare_message(message, other.message_types_by_name.get(name) or descriptor_pool.Default().FindMessageTypeByName(message.full_name))
    for name, enum in one.enum_types_by_name.items():
        compare_enum(enum, other.enum_types_by_name.get(name) or descriptor_pool.Default().FindEnumTypeByName(enum.full_name))
    for name, service in one.services_by_name.items():
        theirs = other.services_by_name[name]
        same(service.full_name, [[m.name, m.input_type.full_name, m.output_type.full_name] for m in service.methods],
             [[m.name, m.input_type.full_name, m.output_type.full_name] for m in theirs.methods])
json.dump([len(files), different], sys.stdout)
