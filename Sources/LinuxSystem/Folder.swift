internal import CLinux
internal import Glibc

/// A folder of the file system.
public enum Folder {
    /// The names in the folder at `path`, sorted; nil if that is a file.
    public static func names(in path: String) throws(SystemError) -> [String]? {
        let names = Names()
        let result = clinux_list_folder(path, Unmanaged.passUnretained(names).toOpaque(), visitName)
        if result == -ENOTDIR { return nil }
        _ = try check(result, "opendir", path)
        return names.all.sorted()
    }
}

private final class Names {
    var all: [String] = []
}

// Safe: called only while `names` above is alive, with a name that ends with NUL.
private func visitName(_ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<CChar>?) {
    guard let context, let name else { return }
    Unmanaged<Names>.fromOpaque(context).takeUnretainedValue().all.append(String(cString: name))
}
