extension VMDescription {
    /// Reads the description from its JSON text.
    ///
    /// - Throws: `StateError.invalidJSON` for text that is no JSON, `.limitExceeded` for text beyond `limits`,
    ///   `.invalidDescription` for JSON that does not describe device state.
    public init(utf8: [UInt8], limits: JSONValue.Limits = JSONValue.Limits()) throws(StateError) {
        let document = try JSONValue(utf8: utf8, limits: limits)
        guard let pageSize = document["page_size"]?.integer, pageSize > 0 else {
            throw .invalidDescription(path: "page_size", explanation: "it is missing or no positive number")
        }
        guard let devices = document["devices"]?.array else {
            throw .invalidDescription(path: "devices", explanation: "it is missing or no array")
        }
        self.init(pageSize: pageSize)
        if let configuration = document["configuration"] {
            self.configuration = try StructureDescription(configuration, path: "configuration")
        }
        self.devices.reserveCapacity(devices.count)
        for device in devices { self.devices.append(try DeviceDescription(device)) }
    }
}

extension DeviceDescription {
    init(_ json: JSONValue) throws(StateError) {
        guard let name = json["name"]?.string, let instance = json["instance_id"]?.integer else {
            throw .invalidDescription(path: "devices", explanation: "a device lacks name or instance_id")
        }
        self.init(name: name, instanceID: instance, structure: try StructureDescription(json, path: name))
        byteCount = json["size"]?.integer
    }
}

extension StructureDescription {
    /// Reads the members `vmsd_name`, `version`, `fields` and `subsections` of any object that has them.
    init(_ json: JSONValue, path: String) throws(StateError) {
        guard let fields = json["fields"]?.array else {
            throw .invalidDescription(path: path, explanation: "fields is missing or no array")
        }
        let name = json["vmsd_name"]?.string
        self.init(name: name, version: json["version"]?.integer, fields: [])
        self.fields.reserveCapacity(fields.count)
        for field in fields { self.fields.append(try FieldDescription(field, path: path)) }
        for subsection in json["subsections"]?.array ?? [] {
            let structure = try StructureDescription(subsection, path: path)
            guard structure.name != nil else {
                throw .invalidDescription(path: path, explanation: "a subsection lacks vmsd_name")
            }
            subsections.append(structure)
        }
    }
}

extension FieldDescription {
    init(_ json: JSONValue, path: String) throws(StateError) {
        guard let name = json["name"]?.string else {
            throw .invalidDescription(path: path, explanation: "a field lacks name")
        }
        let path = path + "/" + name
        guard let type = json["type"]?.string, let byteCount = json["size"]?.integer, byteCount >= 0 else {
            throw .invalidDescription(path: path, explanation: "it lacks type or size")
        }
        self.init(name: name, type: type, byteCount: byteCount, index: json["index"]?.integer)
        if let count = json["array_len"] {
            guard let count = count.integer, count > 0 else {
                throw .invalidDescription(path: path, explanation: "array_len is no positive number")
            }
            elementCount = count
        }
        switch type {
        case "struct", "vstruct":
            guard let structure = json["struct"] else {
                throw .invalidDescription(path: path, explanation: "struct is missing")
            }
            self.structure = try StructureDescription(structure, path: path)
        case "tmp":
            structure = try StructureDescription(json, path: path)
        default:
            break  // Other types that have members, such as linked lists, are read as bytes.
        }
    }
}
