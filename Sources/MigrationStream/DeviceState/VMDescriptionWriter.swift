/// Writes the description of device state as QEMU does, to the letter.
///
/// QEMU 7.2 writes `{"page_size": …, "devices": […]}`; from 8.0 on `"configuration"` comes first, which is the
/// layout here if the description has one.
public struct VMDescriptionWriter {
    private let description: VMDescription

    public init(_ description: VMDescription) { self.description = description }

    /// The JSON text in UTF-8, without an end mark: the payload of the stream's description section.
    public var utf8: [UInt8] { json.utf8 }

    /// The JSON text.
    public var text: String { json.text }

    /// The document.
    public var json: JSONValue {
        var members: [JSONValue.Member] = []
        if let configuration = description.configuration {
            members.append(.init("configuration", .object(configuration.members)))
        }
        members.append(.init("page_size", .integer(Int64(description.pageSize))))
        members.append(.init("devices", .array(description.devices.map { .object($0.members) })))
        return .object(members)
    }
}

extension DeviceDescription {
    var members: [JSONValue.Member] {
        var members: [JSONValue.Member] = [
            .init("name", .string(name)), .init("instance_id", .integer(Int64(instanceID))),
        ]
        if let byteCount { members.append(.init("size", .integer(Int64(byteCount)))) }
        // A device that saves without a description has one field, which names its size before its type.
        if structure.name == nil {
            let fields = structure.fields.map { field in
                JSONValue.object([
                    .init("name", .string(field.name)), .init("size", .integer(Int64(field.byteCount))),
                    .init("type", .string(field.type)),
                ])
            }
            return members + [.init("fields", .array(fields))]
        }
        return members + structure.members
    }
}

extension StructureDescription {
    var members: [JSONValue.Member] {
        var members: [JSONValue.Member] = []
        if let name { members.append(.init("vmsd_name", .string(name))) }
        if let version { members.append(.init("version", .integer(Int64(version)))) }
        members.append(.init("fields", .array(fields.map { .object($0.members) })))
        if !subsections.isEmpty {
            members.append(.init("subsections", .array(subsections.map { .object($0.members) })))
        }
        return members
    }
}

extension FieldDescription {
    var members: [JSONValue.Member] {
        var members: [JSONValue.Member] = [.init("name", .string(name))]
        if let elementCount { members.append(.init("array_len", .integer(Int64(elementCount)))) }
        if let index { members.append(.init("index", .integer(Int64(index)))) }
        members.append(.init("type", .string(type)))
        if let structure {
            if type == "tmp" {
                members += structure.members
            } else {
                members.append(.init("struct", .object(structure.members)))
            }
        }
        members.append(.init("size", .integer(Int64(byteCount))))
        return members
    }
}
