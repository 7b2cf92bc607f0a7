public import MigrationStream

/// A device whose state is a section of the migration stream.
public protocol SectionDevice: Device {
    /// QEMU's name of the section, without the path of a bus: "serial".
    var sectionName: String { get }

    /// The section's payload with its description. Called while the guest is paused.
    func saveSection() -> SavedState

    /// Loads a section's payload. Called while the guest is paused, after its memory is there.
    ///
    /// - Throws: `StateError` for bytes that are no such state; `DeviceError` or `VirtioError` if the state contradicts
    ///   the configuration or memory. The device is then to be reset or thrown away.
    func loadSection(_ section: ReceivedState) throws
}

extension SectionDevice {
    /// Loads a payload that has not been decoded.
    public func loadSection(_ bytes: [UInt8], version: Int) throws {
        try loadSection(ReceivedState(version: version, bytes: bytes))
    }
}

/// A device whose state is a value of its own, apart from the live device: QEMU's fields, in QEMU's meaning.
public protocol StatefulDevice: SectionDevice {
    associatedtype State: DeviceState

    /// The device's state now.
    func saveState() -> State

    /// Takes over a state that was loaded from a stream.
    func loadState(_ state: State) throws
}

extension StatefulDevice {
    public var sectionName: String { State.vmsdName }
    public func saveSection() -> SavedState { saveState().save() }

    public func loadSection(_ section: ReceivedState) throws { try loadState(try section.state()) }
}

/// Why a device cannot take over a state.
public enum DeviceError: Error, Equatable, CustomStringConvertible {
    /// The guest accepted features that this device does not offer.
    case features(device: String, accepted: UInt64, offered: UInt64)
    /// A part of the configuration is another one at the source.
    case mismatch(device: String, property: String, here: String, there: String)

    public var description: String {
        switch self {
        case .features(let device, let accepted, let offered):
            """
            The guest uses features 0x\(String(accepted, radix: 16)) of \(device), \
            which offers 0x\(String(offered, radix: 16)) here.
            """
        case .mismatch(let device, let property, let here, let there):
            "\(property) of \(device) is \(here) here and \(there) in the stream."
        }
    }
}
