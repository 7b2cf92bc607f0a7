/// The description of device state that a QEMU source sends after the end of its stream: names, types and sizes of
/// all fields of all devices, in the order of the stream.
///
///     {"page_size": 4096, "devices": [{"name", "instance_id", "vmsd_name", "version", "fields", "subsections"}]}
///
/// From 8.0 on `"configuration"` stands before `"page_size"`. See QEMU migration/savevm.c and migration/vmstate.c.
public struct VMDescription: Equatable, Sendable {
    /// Size of a guest page in bytes.
    public var pageSize: Int
    /// The configuration section, described since QEMU 8.0.
    public var configuration: StructureDescription?
    /// The device sections in stream order. The memory is not among them.
    public var devices: [DeviceDescription]

    public init(pageSize: Int = 4096, configuration: StructureDescription? = nil, devices: [DeviceDescription] = []) {
        self.pageSize = pageSize
        self.configuration = configuration
        self.devices = devices
    }

    /// The description of one section, or nil if the stream's description leaves it out.
    public func device(named name: String, instance: Int) -> DeviceDescription? {
        devices.first { $0.name == name && $0.instanceID == instance }
    }
}

/// The description of one device's section.
public struct DeviceDescription: Equatable, Sendable {
    /// The section's idstr, bus prefix included.
    public var name: String
    public var instanceID: Int
    /// Bytes of the section, given only for a device that saves without a description of its fields.
    public var byteCount: Int?
    public var structure: StructureDescription

    public init(name: String, instanceID: Int, byteCount: Int? = nil, structure: StructureDescription) {
        self.name = name
        self.instanceID = instanceID
        self.byteCount = byteCount
        self.structure = structure
    }
}

/// The description of a structure or subsection.
public struct StructureDescription: Equatable, Sendable {
    /// QEMU's name of the description, such as `cpu/tsc_khz`; nil for a device without one.
    public var name: String?
    public var version: Int?
    public var fields: [FieldDescription]
    /// The subsections that this stream has.
    public var subsections: [StructureDescription]

    public init(
        name: String?, version: Int?, fields: [FieldDescription], subsections: [StructureDescription] = []
    ) {
        self.name = name
        self.version = version
        self.fields = fields
        self.subsections = subsections
    }
}

/// The description of one field.
public struct FieldDescription: Equatable, Sendable {
    public var name: String
    /// QEMU's word for the type: `uint32`, `int64`, `bool`, `timer`, `buffer`, `struct`, `tmp`, `virtio` …
    public var type: String
    /// Bytes on the wire, of one element if `elementCount` is given.
    public var byteCount: Int
    /// Elements that are all alike and are described once.
    public var elementCount: Int?
    /// The index of an array's element that is described on its own.
    public var index: Int?
    /// The fields within, for `struct` and `tmp`.
    public var structure: StructureDescription?

    public init(
        name: String, type: String, byteCount: Int, elementCount: Int? = nil, index: Int? = nil,
        structure: StructureDescription? = nil
    ) {
        self.name = name
        self.type = type
        self.byteCount = byteCount
        self.elementCount = elementCount
        self.index = index
        self.structure = structure
    }
}
