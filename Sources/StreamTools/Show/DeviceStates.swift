public import MigrationStream

/// The device sections of a stream, kept until the description at its end says what is in them.
public struct DeviceStates: Sendable {
    /// One device section.
    public struct Device: Sendable {
        public var section: SectionHeader
        /// Where its state begins in the stream.
        public var offset: Int
        public var byteCount: Int
        public var isPackaged: Bool
        /// The state as named values; nil if nothing here or in the stream says what it holds.
        public var values: StateStructure?
        /// Why the state is not what its description says, or cannot be read.
        public var problem: String?
        /// The bytes, as long as they are needed.
        var bytes: [UInt8]?
    }

    /// Bytes of state that are kept for one stream.
    public static let maximumByteCount = 256 << 20

    private(set) var devices: [Device] = []
    private(set) var descriptionProblem: String?
    private var byteCount = 0

    mutating func append(_ payload: DevicePayload, bytes: RawSpan, offset: Int, isPackaged: Bool) {
        byteCount += payload.bytes.count
        var device = Device(
            section: payload.section, offset: offset, byteCount: payload.bytes.count, isPackaged: isPackaged)
        if byteCount <= Self.maximumByteCount {
            device.bytes = bytes.copy(payload.bytes)
        } else {
            device.problem = "it is not read: the stream has more than \(Self.maximumByteCount) bytes of state"
        }
        devices.append(device)
    }

    /// Reads the states, with the description's JSON text if the stream has one, else with what is known here.
    ///
    /// - Parameter keepsUnreadableBytes: keeps the bytes of states that nothing here can read, for comparing them.
    mutating func resolve(description json: [UInt8]?, keepsUnreadableBytes: Bool = false) {
        var description: VMDescription?
        if let json {
            do { description = try VMDescription(utf8: json) } catch { descriptionProblem = "\(error)" }
        }
        for index in devices.indices {
            guard let bytes = devices[index].bytes else { continue }
            devices[index].bytes = nil
            let section = devices[index].section
            if let description {
                read(bytes, with: description, into: &devices[index])
            }
            // The description keeps the inside of virtio devices to itself; what is known here shows it.
            if devices[index].values == nil || section.name.contains("/virtio-") {
                if let values = try? DeviceStateCatalog.values(
                    of: section.name, version: Int(section.version), bytes)
                {
                    devices[index].values = values
                }
            }
            if devices[index].values == nil {
                if keepsUnreadableBytes { devices[index].bytes = bytes }
                if devices[index].problem != nil { continue }
                devices[index].problem = "nothing says what it holds"
            }
        }
    }

    private func read(_ bytes: [UInt8], with description: VMDescription, into device: inout Device) {
        let section = device.section
        guard let found = description.device(named: section.name, instance: Int(section.instance)) else {
            // Sections with a START are not described.
            if section.kind == .full { device.problem = "the description leaves it out" }
            return
        }
        do throws(StateError) {
            device.values = try DescribedStateReader.values(of: bytes, describedBy: found)
        } catch {
            device.problem = "\(error)"
        }
    }
}
