internal import CZlib
internal import CZstd

/// The versions of the linked libraries, for `apus --version`.
public var compressionLibraryVersions: String {
    "zlib \(String(cString: zlibVersion())), zstd \(String(cString: ZSTD_versionString()))"
}
