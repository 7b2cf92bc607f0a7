/// What a server says first: `{"QMP": {"version": …, "capabilities": […]}}`.
public struct Greeting: Equatable, Sendable {
    /// The version of QEMU whose dialect is spoken, and who speaks it.
    public struct Version: Equatable, Sendable {
        public var major: Int
        public var minor: Int
        public var micro: Int
        /// Name and version of the program; QEMU puts its distributor's package here.
        public var package: String

        public init(major: Int, minor: Int, micro: Int, package: String) {
            self.major = major
            self.minor = minor
            self.micro = micro
            self.package = package
        }

        /// As in the greeting and in the answer to `query-version`.
        public var value: QMPValue {
            [
                "qemu": ["micro": QMPValue(micro), "minor": QMPValue(minor), "major": QMPValue(major)],
                "package": .string(package),
            ]
        }
    }

    public var version: Version
    /// Session capabilities the server offers; QEMU knows "oob" only.
    public var capabilities: [String]

    public init(version: Version, capabilities: [String] = ["oob"]) {
        self.version = version
        self.capabilities = capabilities
    }

    public var value: QMPValue {
        ["QMP": ["version": version.value, "capabilities": .array(capabilities.map(QMPValue.string))]]
    }

    /// Reads a greeting; nil when `value` is none.
    public init?(reading value: QMPValue) {
        guard let content = value["QMP"], let qemu = content["version"]?["qemu"] else { return nil }
        func part(_ name: String) -> Int { Int(truncatingIfNeeded: qemu[name]?.integerValue ?? 0) }
        self.init(
            version: Version(
                major: part("major"), minor: part("minor"), micro: part("micro"),
                package: content["version"]?["package"]?.stringValue ?? ""),
            capabilities: content["capabilities"]?.arrayValue?.compactMap(\.stringValue) ?? [])
    }
}
