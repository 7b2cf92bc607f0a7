/// A part of the machine that the guest can see: it is reset, paused and resumed with it, and moves with it.
///
/// Devices know guest memory and interrupt lines, never KVM. Register accesses come from virtual CPU threads, several at
/// a time; a device guards its own state. The other calls come from one thread at a time, with no virtual CPU running.
///
///             pause                    saveState, loadState, reset
///     running -----> paused (quiet) -----------------------------.
///        ^------------- resume ---------------------------------'
public protocol Device: AnyObject, Sendable {
    /// What messages call it: "serial", "virtio-blk".
    var name: String { get }

    /// Puts the device into the state it has at power-on; host-side things (files, MAC address) stay.
    func reset()

    /// Stops all activity of its own. When this returns, nothing the device does changes guest memory, raises an
    /// interrupt or touches a disk: every request it took from the guest is finished, and it takes no more.
    func pause()

    /// Goes on after `pause`, looking again for everything that may have come meanwhile.
    func resume()

    /// The device's state in the migration stream. There is no default: a device without any says so, and why.
    var stateKind: DeviceStateKind { get }
}

/// Whether a device has state that moves.
public enum DeviceStateKind: Sendable {
    /// Everything about the device follows from the configuration; the text says why.
    case none(because: String)
    /// The device conforms to `StatefulDevice`, and its state is a section of the stream.
    case section
}

/// Who receives a guest's wish about the whole machine. Called on a virtual CPU thread; must not block.
public protocol SystemEventReceiver: AnyObject, Sendable {
    func receive(_ event: SystemEvent)
}

/// What a guest asks of its machine.
public enum SystemEvent: Hashable, Sendable {
    case shutdown
    case reset
}
